"""The pages of the documentation that are made from the code each time the site is built; see ``mkdocs.yml``."""
