"""What an operator asks: one file a verb. `kubectl metalbgp VERB` is the same program."""
