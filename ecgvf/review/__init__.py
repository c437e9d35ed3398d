"""The review page: people accept or reject records on a local page, and their decisions overrule the judge.

cases.py joins each record with its verdicts and the reviewers' decisions; server.py shows them and records decisions.
"""
