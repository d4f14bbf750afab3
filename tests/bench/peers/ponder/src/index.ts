import { ponder } from "ponder:registry";
import { block, transfer } from "ponder:schema";

ponder.on("Every:block", async ({ event, context }) => {
  const { number, hash, parentHash, timestamp } = event.block;
  await context.db.insert(block).values({ number, hash, parentHash, timestamp });
});

ponder.on("Token:Transfer", async ({ event, context }) => {
  await context.db.insert(transfer).values({
    id: event.id,
    blockNumber: event.block.number,
    logIndex: event.log.logIndex,
    txHash: event.transaction.hash,
    token: event.log.address,
    sender: event.args.from,
    recipient: event.args.to,
    amount: event.args.value,
  });
});
