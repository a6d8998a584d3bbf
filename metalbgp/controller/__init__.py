"""The controller: wires cluster → inventory → allocate → plan → cluster. One of two replicas leads."""
