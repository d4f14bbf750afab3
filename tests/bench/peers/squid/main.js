// Fills the tables from FIRST_BLOCK to LAST_BLOCK and ends. Settings come from the environment (tests/bench/peers/squid.py).
const { EvmBatchProcessor } = require("@subsquid/evm-processor");
const { TypeormDatabase } = require("@subsquid/typeorm-store");
const { Block, Transfer } = require("./lib/model");

// keccak-256 of Transfer(address,address,uint256), EIP-20
const TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
const env = process.env;

const processor = new EvmBatchProcessor()
  .setRpcEndpoint({ url: env.NODE_URL, capacity: 20, maxBatchCallSize: 100 })
  .setFinalityConfirmation(0)
  .setBlockRange({ from: Number(env.FIRST_BLOCK), to: Number(env.LAST_BLOCK) })
  .setFields({ block: { timestamp: true }, log: { topics: true, data: true, transactionHash: true } })
  .includeAllBlocks()
  .addLog({ address: env.TOKENS.split(","), topic0: [TRANSFER] });

const side = (topic) => "0x" + topic.slice(-40);

function transfer(header, log) {
  return new Transfer({
    id: log.id,
    blockNumber: header.height,
    logIndex: log.logIndex,
    txHash: log.transactionHash,
    token: log.address,
    sender: side(log.topics[1]),
    recipient: side(log.topics[2]),
    amount: BigInt(log.data).toString(),
  });
}

function block(header) {
  const { id, height, hash, parentHash, timestamp } = header;
  return new Block({ id, number: height, hash, parentHash, timestamp: new Date(timestamp) });
}

processor.run(new TypeormDatabase({ supportHotBlocks: false }), async (ctx) => {
  await ctx.store.insert(ctx.blocks.map(({ header }) => block(header)));
  await ctx.store.insert(ctx.blocks.flatMap(({ header, logs }) => logs.map((log) => transfer(header, log))));
});
