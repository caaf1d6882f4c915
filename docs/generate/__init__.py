"""Generated parts of the site: tables, galleries and reference pages, made from the library."""
