"""BGP through an ExaBGP child: values, its lines, the journal of what it was told, and the child itself."""
