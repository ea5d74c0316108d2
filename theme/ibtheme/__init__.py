"""The book's MyST theme: turns the page trees that mystmd writes into static HTML.

`nodes`, `boxes` and `outputs` render one kind of node each; `page` puts the result into a frame;
`export` writes a whole site to a folder, `serve` shows it live; `prepare` fetches KaTeX's fonts.
"""
