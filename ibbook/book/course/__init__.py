"""A course from the book: exercises that nbgrader releases, and that grade themselves."""
