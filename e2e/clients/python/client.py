"""A user's program with redis-py, run by operator/cli/tests/clients; e2e/clients/README.md says what it does."""

import sys
import threading
import time

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

PATIENCE = 30
MANY = 3000


def connect(address, protocol, **options):
    host, port = address.rsplit(":", 1)
    options = {"decode_responses": True, "socket_timeout": PATIENCE, **options}
    return redis.Redis(host=host, port=int(port), protocol=protocol, **options)


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r:.2000}, wanted {wanted!r:.2000}")


def hello(addresses, protocol, here, there):
    named = connect(addresses[0], protocol, client_name="python")
    same(named.ping(), True)
    same(named.client_getname(), "python")
    about = named.client_info()
    same((about["resp"], about["lib-name"]), (str(protocol), "redis-py"))
    same(named.client_setname("another"), True)
    same(named.client_getname(), "another")
    same(named.info("server")["redis_version"].startswith("7.2."), True)
    named.close()
    here.hset("hash", mapping={"a": "1", "b": "2"})
    here.zadd("scores", {"x": 1.5, "y": float("inf")})
    here.sadd("set", "m")
    same(there.hgetall("hash"), {"a": "1", "b": "2"})
    same(there.zscore("scores", "x"), 1.5)
    same(there.zrange("scores", 0, -1, withscores=True)[1][1], float("inf"))
    same(there.smembers("set"), {"m"})
    same(there.get("nothing"), None)
    # Any bytes, and a lot of them.
    raw = bytes(range(256)) * 8192
    here.set("bytes", raw)
    same(connect(addresses[1], protocol, decode_responses=False).get("bytes") == raw, True)


def pipelines(here, there):
    with here.pipeline(transaction=False) as pipe:
        for number in range(MANY):
            pipe.set(f"piped:{number}", number)
            pipe.incr("piped")
        same(pipe.execute(), [reply for number in range(1, MANY + 1) for reply in (True, number)])
    with there.pipeline(transaction=False) as pipe:
        for number in range(MANY):
            pipe.get(f"piped:{number}")
        pipe.lpush("piped", "x")
        replies = pipe.execute(raise_on_error=False)
    same(replies[:-1], [str(number) for number in range(MANY)])
    same(str(replies[-1]).startswith("WRONGTYPE") or "wrong kind of value" in str(replies[-1]), True)


def transactions(here, there):
    here.set("balance", 10)
    with here.pipeline() as pipe:
        pipe.watch("balance")
        seen = int(pipe.get("balance"))
        pipe.multi()
        pipe.set("balance", seen + 1)
        pipe.get("balance")
        same(pipe.execute(), [True, "11"])
    # Somebody else is faster, at another replica.
    with here.pipeline() as pipe:
        pipe.watch("balance")
        seen = int(pipe.get("balance"))
        there.set("balance", 100)
        pipe.multi()
        pipe.set("balance", seen + 1)
        try:
            pipe.execute()
            raise AssertionError("a lost race was not noticed")
        except redis.WatchError:
            pass
    same(here.get("balance"), "100")

    def raised(pipe):
        seen = int(pipe.get("balance"))
        pipe.multi()
        pipe.set("balance", seen + 1)

    same(there.transaction(raised, "balance"), [True])
    same(here.get("balance"), "101")


def hears(sub, wanted):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = sub.get_message(timeout=1)
        if message is not None:
            same((message["type"], message["channel"], message["data"]), wanted)
            return
    raise AssertionError(f"never heard {wanted}")


def subscribers(here, there):
    sub = here.pubsub()
    sub.subscribe("news")
    hears(sub, ("subscribe", "news", 1))
    sub.psubscribe("weather.*")
    hears(sub, ("psubscribe", "weather.*", 2))
    for number in range(10):
        there.publish("news", f"item {number}")
        here.publish("weather.rome", f"{number} degrees")
        hears(sub, ("message", "news", f"item {number}"))
        hears(sub, ("pmessage", "weather.rome", f"{number} degrees"))
    same(here.pubsub_channels(), ["news"])
    sub.unsubscribe("news")
    hears(sub, ("unsubscribe", "news", 1))
    sub.close()


def blocking(here, there):
    same(here.blpop("queue", timeout=0.1), None)
    found = []
    waits = threading.Thread(target=lambda: found.append(here.blpop(["other", "queue"], timeout=PATIENCE)))
    waits.start()
    until(lambda: any(client["cmd"] == "blpop" for client in here.client_list()), "nobody waits")
    there.rpush("queue", "job")
    waits.join()
    same([tuple(found[0])], [("queue", "job")])
    same(there.llen("queue"), 0)


def until(holds, otherwise):
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(otherwise)
        time.sleep(0.01)


def scans(here, there):
    names = {f"scan:{number}" for number in range(MANY)}
    here.mset(dict.fromkeys(names, "v"))
    here.hset("fields", mapping=dict.fromkeys(names, "v"))
    here.sadd("members", *names)
    here.zadd("ranked", dict.fromkeys(names, 1))
    same(set(there.scan_iter(match="scan:*", count=100)), names)
    same(set(there.scan_iter(match="scan:1*", count=1000, _type="string")), {name for name in names if name.startswith("scan:1")})
    same(dict(there.hscan_iter("fields", count=100)), dict.fromkeys(names, "v"))
    same(set(there.sscan_iter("members", count=100)), names)
    same({member for member, _ in there.zscan_iter("ranked", count=100)}, names)


def timeouts(address, protocol):
    hasty = connect(address, protocol, socket_timeout=0.2, retry=Retry(ConstantBackoff(0), 0))
    hasty.set("there", "yes")
    try:
        hasty.blpop("never", timeout=5)
        raise AssertionError("no timeout")
    except redis.TimeoutError:
        pass
    same(hasty.get("there"), "yes")


def scripts(here):
    for ask in (lambda: here.eval("return 1", 0), lambda: here.register_script("return 1")()):
        try:
            ask()
            raise AssertionError("there are scripts")
        except redis.ResponseError as error:
            same("script" in str(error) or "unknown command" in str(error), True)
    same(here.ping(), True)


class Writer(threading.Thread):
    """Writes numbered keys, each with itself as its value, one after the other, and knows which it was told OK."""

    def __init__(self, name, store):
        super().__init__(daemon=True)
        self.name, self.store, self.told, self.errors, self.least = name, store, [], [], None

    def run(self):
        number = 0
        while self.least is None or len(self.told) < self.least:
            key = f"{self.name}:{number}"
            number += 1
            try:
                if self.store.set(key, key):
                    self.told.append(key)
            except redis.RedisError as error:
                self.errors.append(str(error))

    def finish(self):
        self.least = len(self.told) + 200


def failover(addresses, protocol):
    # What redis-py does by itself when its server goes away: connect again, and ask again.
    patient = {"retry": Retry(ConstantBackoff(0.02), 500), "socket_timeout": 5}
    names = [f"python{protocol}:leader", f"python{protocol}:follower"]
    writers = [Writer(name, connect(address, protocol, **patient)) for name, address in zip(names, addresses)]
    for writer in writers:
        writer.start()
    for writer in writers:
        until(lambda: len(writer.told) >= 200, f"{writer.name}: {writer.errors[-1:]}")
    print("writing", flush=True)
    same(sys.stdin.readline(), "killed\n")
    for writer in writers:
        writer.finish()
    for writer in writers:
        writer.join(PATIENCE)
        same(writer.is_alive(), False)
    told = [key for writer in writers for key in writer.told]
    lost = 0
    for address in addresses:
        with connect(address, protocol, **patient).pipeline(transaction=False) as pipe:
            for key in told:
                pipe.get(key)
            lost += sum(value != key for key, value in zip(told, pipe.execute()))
    same(writers[1].errors, [])
    print(f"acknowledged {len(told)}, lost {lost}, errors {len(writers[0].errors)}", flush=True)


def main():
    protocol, addresses = int(sys.argv[1]), sys.argv[2:]
    here, there = connect(addresses[0], protocol), connect(addresses[1], protocol)
    steps = {
        "hello": lambda: hello(addresses, protocol, here, there),
        "pipelines": lambda: pipelines(here, there),
        "transactions": lambda: transactions(here, there),
        "subscribers": lambda: subscribers(here, there),
        "blocking": lambda: blocking(here, there),
        "scans": lambda: scans(here, there),
        "timeouts": lambda: timeouts(addresses[0], protocol),
        "scripts": lambda: scripts(here),
    }
    for name, step in steps.items():
        step()
        print(name, flush=True)
    failover(addresses, protocol)


main()
