"""The search page of `serve`: plain HTML, CSS and JavaScript modules, answered by the same server as the API."""
