"""A small package for the book on the information bottleneck; one module per idea."""
