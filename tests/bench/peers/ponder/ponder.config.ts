// Settings come from the environment (tests/bench/peers/ponder.py).
import { createConfig } from "ponder";
import { parseAbi } from "viem";

const env = process.env;
const range = { startBlock: Number(env.FIRST_BLOCK), endBlock: Number(env.LAST_BLOCK) };

export default createConfig({
  database: { kind: "postgres", connectionString: env.DATABASE_URL },
  chains: { fixture: { id: Number(env.CHAIN_ID), rpc: env.NODE_URL } },
  contracts: {
    Token: {
      abi: parseAbi(["event Transfer(address indexed from, address indexed to, uint256 value)"]),
      chain: "fixture",
      address: env.TOKENS!.split(",") as `0x${string}`[],
      ...range,
    },
  },
  blocks: { Every: { chain: "fixture", interval: 1, ...range } },
});
