// The two tables of schema.sql, as the store wants them described.
const { EntitySchema } = require("typeorm");

class Block {
  constructor(fields) {
    Object.assign(this, fields);
  }
}

class Transfer {
  constructor(fields) {
    Object.assign(this, fields);
  }
}

const text = { type: "text" };
const integer = { type: "integer" };

exports.Block = Block;
exports.Transfer = Transfer;
exports.BlockSchema = new EntitySchema({
  name: "Block",
  tableName: "block",
  target: Block,
  columns: {
    id: { ...text, primary: true },
    number: integer,
    hash: text,
    parentHash: { ...text, name: "parent_hash" },
    timestamp: { type: "timestamptz" },
  },
});
exports.TransferSchema = new EntitySchema({
  name: "Transfer",
  tableName: "transfer",
  target: Transfer,
  columns: {
    id: { ...text, primary: true },
    blockNumber: { ...integer, name: "block_number" },
    logIndex: { ...integer, name: "log_index" },
    txHash: { ...text, name: "tx_hash" },
    token: text,
    sender: text,
    recipient: text,
    amount: { type: "numeric" },
  },
});
