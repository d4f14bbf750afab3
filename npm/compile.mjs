// Compiles contracts/solidity and gathers the third-party bytecode that a devnet needs, all as build/<Name>.json with
// {abi, bytecode}. The build folder is git-ignored: what others wrote is fetched by npm and never committed.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const sources = join(here, "..", "contracts", "solidity");
const modules = join(here, "node_modules");
const build = join(here, "build");
const stamp = join(build, ".stamp");

// The newest rules that every node of the last years runs; a default that moves with solc would move the bytecode.
const EVM = "cancun";

const CARRIED = {
  UniswapV3Factory: "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
  UniswapV3Pool: "@uniswap/v3-core/artifacts/contracts/UniswapV3Pool.sol/UniswapV3Pool.json",
  SwapRouter: "@uniswap/v3-periphery/artifacts/contracts/SwapRouter.sol/SwapRouter.json",
  NonfungiblePositionManager:
    "@uniswap/v3-periphery/artifacts/contracts/NonfungiblePositionManager.sol/NonfungiblePositionManager.json",
  WETH9: "canonical-weth/build/contracts/WETH9.json",
};
// The package does not export this file, hence the path. It is the only small carrier of the deployed bytecode.
const MULTICALL3 = "viem/_esm/constants/contracts.js";

function ownSources() {
  const names = readdirSync(sources).filter((name) => name.endsWith(".sol")).sort();
  return Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(sources, name), "utf8") }]));
}

function fingerprint(own) {
  const hash = createHash("sha256").update(JSON.stringify(own));
  for (const file of ["package-lock.json", "compile.mjs"]) hash.update(readFileSync(join(here, file)));
  return hash.digest("hex");
}

function upToDate(print) {
  try {
    return readFileSync(stamp, "utf8") === print;
  } catch (error) {
    if (error.code === "ENOENT") return false;
    throw error;
  }
}

function findImport(path) {
  try {
    return { contents: readFileSync(join(modules, path), "utf8") };
  } catch (error) {
    return { error: error.message };
  }
}

function compile(own) {
  const solc = createRequire(import.meta.url)("solc");
  const input = {
    language: "Solidity",
    sources: own,
    settings: {
      optimizer: { enabled: true, runs: 200 },
      evmVersion: EVM,
      // Without the metadata hash a comment does not change the bytecode.
      metadata: { bytecodeHash: "none" },
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  const complaints = output.errors ?? [];
  for (const complaint of complaints) console.error(complaint.formattedMessage);
  if (complaints.length > 0) throw new Error(`solc: ${complaints.length} complaint(s), see above`);
  return output.contracts;
}

function write(name, abi, bytecode) {
  writeFileSync(join(build, `${name}.json`), JSON.stringify({ abi, bytecode }) + "\n");
}

async function gather() {
  for (const [name, path] of Object.entries(CARRIED)) {
    const artifact = JSON.parse(readFileSync(join(modules, path), "utf8"));
    write(name, artifact.abi, artifact.bytecode);
  }
  const { multicall3Bytecode } = await import(pathToFileURL(join(modules, MULTICALL3)));
  write("Multicall3", [], multicall3Bytecode);
}

const own = ownSources();
const print = fingerprint(own);
if (!upToDate(print)) {
  const contracts = compile(own);
  rmSync(build, { recursive: true, force: true });
  mkdirSync(build);
  for (const file of Object.keys(own)) {
    const name = file.replace(/\.sol$/, "");
    const { abi, evm } = contracts[file][name];
    write(name, abi, "0x" + evm.bytecode.object);
  }
  await gather();
  // Last, so that an interrupted run is not taken for a finished one.
  writeFileSync(stamp, print);
}
