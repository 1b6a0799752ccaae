// Speaks with a ledger by Fabric's own client library, and knows nothing of Vitro.
//
// Reads one JSON document from standard input: `profile` (a common connection profile), `identity` ({ msp, certificate, key }), `channel`,
// `chaincode`, and `steps`, which are done in order. Writes an array of JSON into the file that is its argument, an element a step: its
// result, or { error: { name, message, code } }. Standard output is the library's. Bytes are hexadecimal.
'use strict';

const { writeFileSync } = require('node:fs');

const { Gateway, Wallets } = require('fabric-network');
const { common } = require('fabric-protos');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const SECONDS = 30;

class Client {
  async open({ profile, identity, channel, chaincode }) {
    const wallet = await Wallets.newInMemoryWallet();
    const { certificate, key } = identity;
    await wallet.put('me', { type: 'X.509', mspId: identity.msp, credentials: { certificate, privateKey: key } });
    this.gateway = new Gateway();
    await this.gateway.connect(profile, {
      wallet,
      identity: 'me',
      discovery: { enabled: false },
      eventHandlerOptions: { commitTimeout: SECONDS, endorseTimeout: SECONDS },
    });
    this.network = await this.gateway.getNetwork(channel);
    this.channel = channel;
    this.contract = this.network.getContract(chaincode);
    this.system = this.network.getContract('qscc');
  }

  transaction(step) {
    const transaction = this.contract.createTransaction(step.function);
    if (step.endorsers) transaction.setEndorsingOrganizations(...step.endorsers);
    return transaction;
  }

  args(step) {
    return (step.args ?? []).map((text) => Buffer.from(text, 'hex'));
  }

  // Waits until the peers of the own organization have it in a block.
  async submit(step) {
    const transaction = this.transaction(step);
    const payload = await transaction.submit(...this.args(step));
    return { transaction: transaction.getTransactionId(), payload: hex(payload) };
  }

  async evaluate(step) {
    const payload = await this.transaction(step).evaluate(...this.args(step));
    return { payload: hex(payload) };
  }

  async info() {
    const found = common.BlockchainInfo.decode(await this.system.evaluateTransaction('GetChainInfo', this.channel));
    return { height: Number(found.height), newest: hex(found.currentBlockHash), before: hex(found.previousBlockHash) };
  }

  // Full blocks as the peer delivers them, taken apart by the library, until the wanted number is there.
  async blocks({ from, to }) {
    const seen = [];
    let done;
    const all = new Promise((resolve, reject) => {
      done = { resolve, reject };
    });
    const timer = setTimeout(() => done.reject(new Error(`block ${to} did not come`)), SECONDS * 1000);
    const listener = async (event) => {
      try {
        seen.push(plain(event));
        if (Number(event.blockNumber) >= to) done.resolve();
      } catch (error) {
        done.reject(error);
      }
    };
    try {
      await this.network.addBlockListener(listener, { startBlock: from, type: 'full' });
      await all;
    } finally {
      clearTimeout(timer);
      this.network.removeBlockListener(listener);
    }
    return { blocks: seen };
  }
}

function plain(event) {
  const { header, data, metadata } = event.blockData;
  return {
    number: Number(header.number),
    previous: hex(header.previous_hash),
    data: hex(header.data_hash),
    signers: metadata.metadata[0].signatures.map((one) => one.signature_header.creator.mspid),
    kinds: data.data.map((one) => one.payload.header.channel_header.typeString),
    organizations: Object.keys(data.data[0].payload.data.config?.channel_group.groups.Application.groups ?? {}),
    transactions: event.getTransactionEvents().map((transaction, at) => ({
      id: transaction.transactionId,
      status: transaction.status,
      creator: data.data[at].payload.header.signature_header.creator.mspid,
      // The library makes an event without a name of a transaction that has none.
      events: transaction.getContractEvents().map((one) => one.eventName).filter(Boolean),
    })),
  };
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const document = JSON.parse(Buffer.concat(chunks).toString());
  const client = new Client();
  await client.open(document);
  const results = [];
  for (const step of document.steps) {
    let result;
    try {
      result = await client[step.do](step);
    } catch (error) {
      const { name, message, transactionCode } = error;
      result = { error: { name, message, code: transactionCode ?? null } };
    }
    results.push(result);
  }
  writeFileSync(process.argv[2], JSON.stringify(results));
  client.gateway.disconnect();
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
