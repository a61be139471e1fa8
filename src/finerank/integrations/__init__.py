"""The reranker inside other frameworks, a file each. Each needs its framework's library, and imports no other."""
