"""What the gateway is compared with: bare loops of the same bytes, and the forwarder that most teams write first.

`limit` posts with the HTTP client that the gateway uses and does nothing else, `aiohttp` does so with aiohttp,
`naive` reads the topic and posts one order at a time. Each runs in a process of its own and ends with a JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from datetime import timedelta
from typing import Any

from bench import orders

HEADERS = {"content-type": "application/json"}


async def limit(url: str, *, start: int, count: int, in_flight: int) -> dict[str, Any]:
    """`in_flight` tasks post `count` orders through pyreqwest."""
    from pyreqwest.client import ClientBuilder

    builder = (
        ClientBuilder()
        .max_connections(in_flight)
        .pool_max_idle_per_host(in_flight)
        .timeout(timedelta(seconds=30))
        .tcp_nodelay(True)
        .http1_only()
        .no_proxy()
    )
    async with builder.build() as client:

        async def post(body: bytes) -> None:
            response = await client.post(url).headers(HEADERS).body_bytes(body).build().send()
            await response.bytes()
            assert response.status == 200, response.status

        return await _timed(post, start=start, count=count, in_flight=in_flight)


async def bare_aiohttp(url: str, *, start: int, count: int, in_flight: int) -> dict[str, Any]:
    """`in_flight` tasks post `count` orders through aiohttp."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=30), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def post(body: bytes) -> None:
            async with session.post(url, data=body, headers=HEADERS) as response:
                await response.read()
                assert response.status == 200, response.status

        return await _timed(post, start=start, count=count, in_flight=in_flight)


async def naive(url: str, *, bootstrap: str, topic: str, group: str, count: int, seconds: float) -> dict[str, Any]:
    """Forward record after record until `count` are through or `seconds` are over; offsets commit by themselves."""
    import aiohttp
    from aiokafka import AIOKafkaConsumer

    done, used_s, started = 0, cpu_s(), time.perf_counter()
    async with (
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest") as consumer,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
    ):
        async for record in consumer:
            if not done:
                used_s, started = cpu_s(), time.perf_counter()
            while True:
                try:
                    async with session.post(url, data=record.value, headers=HEADERS) as response:
                        response.raise_for_status()
                        break
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(1)
            done += 1
            if done == count or time.perf_counter() - started > seconds:
                return result(done, used_s, started)
    raise AssertionError("the topic ended")


async def _timed(post: Any, *, start: int, count: int, in_flight: int) -> dict[str, Any]:
    prepared = [body for _, body, _ in orders.bodies(start, count)]
    waiting = iter(prepared)

    async def loop() -> None:
        for body in waiting:
            await post(body)

    used_s, started = cpu_s(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(loop())
    return result(count, used_s, started)


def result(count: int, used_s: float, started: float) -> dict[str, Any]:
    return {
        "orders": count,
        "orders_per_s": count / (time.perf_counter() - started),
        "cpu_s_per_1000": (cpu_s() - used_s) / count * 1000,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["limit", "aiohttp", "naive"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--bootstrap")
    parser.add_argument("--topic")
    parser.add_argument("--group")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    if given.kind == "naive":
        result = uvloop.run(
            naive(
                given.url,
                bootstrap=given.bootstrap,
                topic=given.topic,
                group=given.group,
                count=given.count,
                seconds=given.seconds,
            )
        )
    else:
        loop = limit if given.kind == "limit" else bare_aiohttp
        result = uvloop.run(loop(given.url, start=given.start, count=given.count, in_flight=given.in_flight))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
