"""PostgreSQL with pgvector finds the candidates, finerank ranks them; through LangChain.

pip install 'finerank[langchain]' langchain-classic langchain-postgres
python examples/pgvector.py postgresql+psycopg://user:password@localhost/database
"""

import sys

from embeddings import FinerankEmbeddings
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_postgres import PGEngine, PGVectorStore
from passages import PASSAGES, QUESTION

from finerank.integrations.langchain import FinerankReranker

TABLE = "finerank_example"


def main(database: str) -> None:
    embeddings = FinerankEmbeddings()
    engine = PGEngine.from_connection_string(database)
    dimensions = len(embeddings.embed_query("dimensions"))
    engine.init_vectorstore_table(TABLE, dimensions, overwrite_existing=True)
    store = PGVectorStore.create_sync(engine, embeddings, TABLE)
    store.add_documents([Document(page_content=text, metadata={"number": n}) for n, text in enumerate(PASSAGES)])

    recall = store.as_retriever(search_kwargs={"k": 50})
    reranking = ContextualCompressionRetriever(base_retriever=recall, base_compressor=FinerankReranker(top_n=3))
    print("recalled:")
    for document in recall.invoke(QUESTION):
        print("       ", document.page_content)
    print("reranked:")
    for document in reranking.invoke(QUESTION):
        print(f"  {document.metadata['relevance_score']:.3f}", document.page_content)
    engine.drop_table(TABLE)


if __name__ == "__main__":
    main(sys.argv[1])
