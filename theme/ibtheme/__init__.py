"""The book's MyST theme: turns the page trees that mystmd writes into static HTML.

`nodes`, `boxes` and `outputs` render one kind of node each; `page` puts the result into a frame;
`export` writes a whole site to a folder, `serve` shows it live. `search` makes the records that
the pages' search looks through, `copies` the notebooks that run anywhere, in `plain` Markdown;
`addresses` is for search engines. `prepare` fetches KaTeX and a font, `fonts` cuts them to size.
"""
