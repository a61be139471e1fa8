"""HTTP: the API that existing clients use, and the page that a person uses."""
