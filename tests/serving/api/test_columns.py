"""What the columns hold, as a page needs it for filters."""

from starlette.testclient import TestClient

from likewise.retrieval.index import Index


def test_columns_tell_how_they_can_be_filtered(client: TestClient, index: Index) -> None:
    answer = client.get("/v1/columns").json()
    assert (answer["items"], answer["counted"]) == (len(index), 6)
    columns = {column["name"]: column for column in answer["columns"]}
    assert columns["price"] == {
        "name": "price",
        "kind": "number",
        "filter": "number",
        "filled": 6,
        "least": 1.0,
        "greatest": 25.0,
        "distinct": 0,
        "values": [],
    }
    assert columns["brand"]["filter"] == "category"
    assert columns["brand"]["values"] == [
        {"value": "A", "count": 2},
        {"value": "B", "count": 2},
        {"value": "C", "count": 1},
    ]
    assert columns["brand"]["filled"] == 5
    assert columns["id"]["filter"] is None  # nobody filters by it
    assert columns["title"]["filter"] is None


def test_a_filter_by_what_a_column_holds_finds_items(client: TestClient) -> None:
    [brand] = [column for column in client.get("/v1/columns").json()["columns"] if column["name"] == "brand"]
    value = brand["values"][0]
    body = {"text": "red", "where": f'`brand` in ["{value["value"]}"]', "k": 10}
    assert len(client.post("/v1/search", json=body).json()["hits"]) == value["count"]
