"""Forms made from a kind's JSON Schema: schema and document -> field tree, posted form -> document.

Pure: knows no request, no database and no git. The document is the only state of a form, so form, editor and git are
views of the same thing; what a person typed and cannot be read as the wanted type stays in the document as text, where
the kind's validator speaks about it.
"""
