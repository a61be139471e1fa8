"""finerank's embedders as LangChain takes them: the small one that ships inside, unless another is named."""

from langchain_core.embeddings import Embeddings

from finerank.retrieval.embed import load_embedder


class FinerankEmbeddings(Embeddings):
    def __init__(self, name: str = "finerank-embed") -> None:
        self._embedder = load_embedder(name)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed_passages(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self._embedder.embed_queries([text])[0].tolist()
