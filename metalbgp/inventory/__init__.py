"""What the cluster holds, indexed: "which services does this change touch?" Pure."""
