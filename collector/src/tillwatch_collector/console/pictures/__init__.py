"""Pictures as numbers: values in, what a template draws out. Nothing here knows of markup, colours or words."""
