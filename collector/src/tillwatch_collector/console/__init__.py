"""The console: one status page, in English and Chinese. `pages` are the routes, `texts` the words, `bar` the picture.

No script, nothing from elsewhere: the browser is told to refuse both. The page asks again by itself, and stops when
told.
"""
