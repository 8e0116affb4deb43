// Calls providers through their own libraries for JavaScript, as a program in a sandbox does. It
// knows no token: all that it goes by is what a preset put into its environment. See main.go in
// ../sdks, which does the same: the names are its arguments, and /tmp/stop ends it.
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { GoogleAuth } from "google-auth-library";
import { DefaultAzureCredential } from "@azure/identity";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { k8sServiceAccountTokenProvider } from "openai/auth/index";

async function get(url, token) {
  const res = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  if (!res.ok) throw new Error(`${url}: ${res.status} ${await res.text()}`);
}

// Each makes a caller that goes on with what it has, as a long-lived program does.
const providers = {
  aws() {
    const client = new STSClient({}); // the default chain has fromTokenFile in it
    return () => client.send(new GetCallerIdentityCommand({}));
  },
  gcp() {
    const auth = new GoogleAuth({ scopes: "https://www.googleapis.com/auth/cloud-platform" });
    return async () => get("https://storage.googleapis.com/echo", await auth.getAccessToken());
  },
  azure() {
    const credential = new DefaultAzureCredential();
    return async () => get("https://management.azure.com/echo", (await credential.getToken("https://management.azure.com/.default")).token);
  },
  anthropic() {
    const client = new Anthropic();
    return () => client.models.list();
  },
  openai() {
    // It has no variables for this: a program names the file, the identity provider and the
    // service account. Its reader of Kubernetes' token file reads any file.
    const client = new OpenAI({
      workloadIdentity: {
        identityProviderId: "idp_test",
        serviceAccountId: "user-test",
        provider: k8sServiceAccountTokenProvider(process.env.OPENAI_IDENTITY_TOKEN_FILE),
      },
    });
    return () => client.models.list();
  },
};

let waiting = process.argv.length - 2; // for the first call of each

async function callAgain(name) {
  const lasting = providers[name]();
  for (let n = 0; ; n++) {
    if (existsSync("/tmp/stop")) return console.log(name, n);
    try {
      await (n % 10 === 9 ? providers[name]() : lasting)();
    } catch (err) {
      console.error(`${name}: call ${n + 1}: ${err.stack ?? err}`);
      process.exit(1);
    }
    if (n === 0 && --waiting === 0) writeFileSync(`/tmp/up.${process.pid}`, "");
    await sleep(300);
  }
}

await Promise.all(process.argv.slice(2).map(callAgain));
process.exit(0);
