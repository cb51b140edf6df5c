// A stranger's integration: npm's googleapis, unchanged, against the simulated Google.
// Usage: node googleapis_client.mjs BASE_URL CLIENT_ID CLIENT_SECRET ACCOUNT
// Prints one JSON object of what it saw.
import { createServer } from 'node:http';
import { google } from 'googleapis';

const [rootUrl, clientId, clientSecret, account] = process.argv.slice(2);

function listen(handler) {
  return new Promise((resolve) => {
    const server = createServer(handler);
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}
const address = (server) => `http://127.0.0.1:${server.address().port}/`;

// connect: the consent page is filled in as a browser does
const redirectUri = 'http://127.0.0.1:9/callback';
const auth = new google.auth.OAuth2({
  clientId, clientSecret, redirectUri,
  endpoints: {
    oauth2AuthBaseUrl: `${rootUrl}/o/oauth2/v2/auth`,
    oauth2TokenUrl: `${rootUrl}/token`,
    oauth2RevokeUrl: `${rootUrl}/revoke`,
  },
});
const { codeVerifier, codeChallenge } = await auth.generateCodeVerifierAsync();
const scope = 'https://www.googleapis.com/auth/drive';
const page = await fetch(auth.generateAuthUrl({
  access_type: 'offline', scope, code_challenge: codeChallenge, code_challenge_method: 'S256',
}));
const request = (await page.text()).match(/name="request" value="([^"]*)"/)[1]
  .replaceAll('&amp;', '&');
const decided = await fetch(`${rootUrl}/o/oauth2/v2/auth/decision`, {
  method: 'POST', redirect: 'manual',
  body: new URLSearchParams({ request, account, granted: scope, decision: 'allow' }),
});
const code = new URL(decided.headers.get('location')).searchParams.get('code');
const { tokens } = await auth.getToken({ code, codeVerifier });
auth.setCredentials({ refresh_token: tokens.refresh_token });

const drive = google.drive({ version: 'v3', auth, rootUrl });
const start = (await drive.changes.getStartPageToken({})).data.startPageToken;

// watch: wait for the sync message and for one poke
const notes = [];
let poked;
const poke = new Promise((resolve) => { poked = resolve; });
const receiver = await listen((incoming, answer) => {
  notes.push(incoming.headers['x-goog-resource-state']);
  answer.writeHead(204).end();
  if (notes.length === 2) poked();
});
const { data: channel } = await drive.changes.watch({
  pageToken: start,
  requestBody: { id: 'from-node', type: 'web_hook', address: address(receiver) },
});

// list, change, download
const { data: made } = await drive.files.create({
  requestBody: { name: 'from node.txt' },
  media: { mimeType: 'text/plain', body: 'hello from node' },
}, { rootUrl });  // uploads look for it among the options of the call
await poke;
const { data: listed } = await drive.files.list({ q: "name = 'from node.txt'" });
const { data: changes } = await drive.changes.list({ pageToken: start });
const { data: content } = await drive.files.get(
  { fileId: made.id, alt: 'media' }, { responseType: 'text' });
const refused = await drive.files.get({ fileId: 'missing' }).catch((error) => error);
await drive.channels.stop({ requestBody: { id: channel.id, resourceId: channel.resourceId } });
receiver.close();
receiver.closeAllConnections();

console.log(JSON.stringify({
  refreshable: Boolean(tokens.refresh_token),
  notes,
  listed: listed.files.map((file) => file.name),
  changed: changes.changes.map((change) => change.file.name),
  ended: Boolean(changes.newStartPageToken),
  content,
  refused: [refused.status, refused.response.data.error.errors[0].reason],
}));
