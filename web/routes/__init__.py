"""The routes of the HTTP API, by subject. Each module ends with its table ROUTES."""
