"""What app.py serves: the page, the HTTP API, and the service behind both."""
