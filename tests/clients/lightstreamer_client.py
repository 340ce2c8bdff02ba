"""Subscribes to items with Lightstreamer's own client, and prints what it hears, a JSON object a line, until it is killed.

    lightstreamer_client.py URL ITEM...

Every object has a "kind": "update" of an item with its fields, "status" of the session, or what went wrong.
"""

import json
import sys
import threading

from lightstreamer.client import ClientListener, LightstreamerClient, Subscription, SubscriptionListener

FIELDS = ["TimeStamp", "Value", "Status.Class", "Status.Indicator", "Status.Color", "CalibratedData"]
# Short, so that a connection that says nothing is soon given up.
KEEPALIVE_MILLIS = 500

lock = threading.Lock()


def say(kind, **what):
    with lock:
        print(json.dumps({"kind": kind, **what}), flush=True)


class Session(ClientListener):
    def onStatusChange(self, status):
        say("status", status=status)

    def onServerError(self, code, message):
        say("server error", code=code, message=message)


class Items(SubscriptionListener):
    def onItemUpdate(self, update):
        fields = {field: update.getValue(field) for field in FIELDS}
        say("update", item=update.getItemName(), is_snapshot=update.isSnapshot(), fields=fields)

    def onItemLostUpdates(self, name, position, lost):
        say("lost updates", item=name, lost=lost)

    def onSubscriptionError(self, code, message):
        say("subscription error", code=code, message=message)


def main(url, items):
    client = LightstreamerClient(url, "ISSLIVE")
    options = client.connectionOptions
    options.setForcedTransport("WS-STREAMING")
    options.setKeepaliveInterval(KEEPALIVE_MILLIS)
    options.setStalledTimeout(KEEPALIVE_MILLIS)
    options.setReconnectTimeout(KEEPALIVE_MILLIS)
    options.setRetryDelay(100)
    options.setFirstRetryMaxDelay(100)
    client.addListener(Session())
    subscription = Subscription("MERGE", items, FIELDS)
    subscription.setRequestedSnapshot("yes")
    subscription.addListener(Items())
    client.subscribe(subscription)
    client.connect()
    threading.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
