"""The review page, on which people accept or reject pairs, and its blind mode, in which they label single images.

loopback.py serves a page that nobody else can open.
    pairs: cases.py joins each record with its verdicts and the reviewers' decisions; server.py shows them.
    blind: images.py samples outcomes, blind.py shows them, labels.py keeps the labels, agreement.py compares judges.
"""
