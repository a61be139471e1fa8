"""Qdrant finds the candidates, finerank ranks them; through LangChain.

pip install 'finerank[langchain]' langchain-classic langchain-qdrant
python examples/qdrant.py                            # Qdrant's local mode, in this process's memory
python examples/qdrant.py http://localhost:6333      # a server
"""

import sys

from embeddings import FinerankEmbeddings
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore
from passages import PASSAGES, QUESTION
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams

from finerank.integrations.langchain import FinerankReranker

COLLECTION = "finerank_example"


def main(url: str | None = None) -> None:
    embeddings = FinerankEmbeddings()
    client = QdrantClient(url) if url else QdrantClient(":memory:")
    dimensions = len(embeddings.embed_query("dimensions"))
    client.create_collection(COLLECTION, VectorParams(size=dimensions, distance=Distance.COSINE))
    store = QdrantVectorStore(client, COLLECTION, embeddings)
    store.add_documents([Document(page_content=text, metadata={"number": n}) for n, text in enumerate(PASSAGES)])

    recall = store.as_retriever(search_kwargs={"k": 50})
    reranking = ContextualCompressionRetriever(base_retriever=recall, base_compressor=FinerankReranker(top_n=3))
    print("recalled:")
    for document in recall.invoke(QUESTION):
        print("       ", document.page_content)
    print("reranked:")
    for document in reranking.invoke(QUESTION):
        print(f"  {document.metadata['relevance_score']:.3f}", document.page_content)
    client.delete_collection(COLLECTION)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
