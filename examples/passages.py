"""Passages that share words with a question, and among them the one that answers it."""

QUESTION = "how do I reset the router's admin password?"

PASSAGES = [
    "The router has an admin page. Change the admin password there when you set the router up, and do not lose it.",
    "An admin password must have twelve characters. A password reset by mail is for the web shop only.",
    "Forgotten the password? Hold the reset button on the back of the router for ten seconds, and log in as admin.",
    "To reset the counters of the admin page, restart the router.",
    "The warranty covers two years. It does not cover water.",
]
