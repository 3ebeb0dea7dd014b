"""Exported models: the SavedModel, the files that deploy it, clients, and a development server."""
