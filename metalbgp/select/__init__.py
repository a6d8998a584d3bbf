"""What shall this node announce? The one function that speaker, planner and explain share. Pure."""
