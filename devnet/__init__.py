"""A chain of one's own: anvil with real contracts and live traffic, so that an indexer has something true to index.

    async with Devnet(folder=data / "devnet") as devnet:
        print(devnet.http_url, devnet.contracts["usdc"].hex())
        await devnet.run()

Keys are anvil's published test accounts, which the node itself signs for; none is written here. They are worth
nothing on any real chain, and money sent to them there is lost.
"""

from devnet.town import Devnet

__all__ = ["Devnet"]
