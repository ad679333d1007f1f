"""What is kept, in PostgreSQL: the only package with SQL. It returns values of rules and of its own."""
