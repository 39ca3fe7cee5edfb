"""HTTP only: requests -> calls of what is below -> JSON, pictures, problems.

claims, images, matches, similar, clusters, templates, reports, admin, health   the routes, one file per resource
access         keys, roles, and the limits of a body, before a byte of it is read
form           bodies -> files, fields, labels; query, filters, opaque: the parameters of paths and queries
parts          what a handler is given, and how many uploads are let in
problems       every error as problem+json: the one table from class to status
schemas        the JSON of the API; match_schemas, pattern_schemas: of some; times, pictures: of these
examples       what the OpenAPI document shows
metrics        what Prometheus reads
"""
