"""The OpenAPI document, written from the tables that requests are checked by and from the models' documents."""
