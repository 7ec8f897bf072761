"""Tables, queries and bulk writers over PostgreSQL (SQLAlchemy 2, psycopg 3). The only place that speaks SQL."""
