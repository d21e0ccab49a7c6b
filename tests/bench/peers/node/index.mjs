// Records Ada's webhook events. Follows the documentation of Powertools, the AWS SDK and Standard Webhooks.

import {
  IdempotencyAlreadyInProgressError,
  IdempotencyConfig,
  makeIdempotent,
} from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { Logger } from '@aws-lambda-powertools/logger';
import { SecretsProvider } from '@aws-lambda-powertools/parameters/secrets';
import { ConditionalCheckFailedException, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, PutCommand } from '@aws-sdk/lib-dynamodb';
import { Webhook } from 'standardwebhooks';

const { IDEMPOTENCY_TABLE, SECRET_ID, TABLE_NAME } = process.env;
const TTL_SECONDS = 90 * 24 * 60 * 60;

// One client, so that the idempotency records and the events share its connections.
const dynamodb = new DynamoDBClient();
const documents = DynamoDBDocumentClient.from(dynamodb);
const secrets = new SecretsProvider();
const logger = new Logger({ serviceName: 'ada-webhooks' });
const config = new IdempotencyConfig({});
const persistenceStore = new DynamoDBPersistenceLayer({
  tableName: IDEMPOTENCY_TABLE,
  awsSdkV3Client: dynamodb,
});

export const handler = async (event, context) => {
  logger.addContext(context);
  config.registerLambdaContext(context);
  const body = event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString() : (event.body ?? '');

  const secret = await secrets.get(SECRET_ID, { maxAge: 300, transform: 'json' });
  const webhook = new Webhook(secret.ada.signing_secrets[0]);
  let message;
  try {
    message = webhook.verify(body, event.headers);
  } catch {
    logger.info('Refused a signature');
    return answer(401, { error: 'invalid signature' });
  }

  try {
    const result = await record(event.headers['webhook-id'], message, body);
    logger.info('Recorded an event', { ...result, event_type: message.type });
    return answer(200, result);
  } catch (error) {
    if (error instanceof IdempotencyAlreadyInProgressError) {
      return answer(409, { error: 'this message is being recorded' });
    }
    throw error;
  }
};

// The idempotency key is the first argument, the message id.
const record = makeIdempotent(
  async (messageId, message, payload) => {
    const event_id = `ada:${messageId}`;
    const now = new Date();
    const subject = message.data?.conversation_id;
    try {
      await documents.send(
        new PutCommand({
          TableName: TABLE_NAME,
          Item: {
            event_id,
            source: 'ada',
            event_type: message.type,
            ...(subject && { subject }),
            received_at: now.toISOString(),
            payload,
            expires_at: Math.floor(now.getTime() / 1000) + TTL_SECONDS,
          },
          ConditionExpression: 'attribute_not_exists(event_id)',
        }),
      );
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) {
        return { status: 'duplicate', event_id };
      }
      throw error;
    }
    return { status: 'recorded', event_id };
  },
  { config, persistenceStore },
);

const answer = (statusCode, body) => ({
  statusCode,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
