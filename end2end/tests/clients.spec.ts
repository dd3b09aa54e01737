import { expectMetrics, expectSession, expectTotals, openLive } from "../support/page";
import { test } from "../support/test";

test("two pages and one that comes late show the same", async ({ context, home }) => {
  const session = home.session();
  session.response();
  const [first, second] = [await context.newPage(), await context.newPage()];
  await openLive(first);
  await openLive(second);
  session.response({ lines: 2, output: 640 });

  const late = await context.newPage();
  await openLive(late);
  session.response({ lines: 3, output: 1_280 });
  for (const page of [first, second, late]) {
    await expectSession(page, session);
    await expectTotals(page, home);
    await expectMetrics(page, { clients: 3 });
  }

  await second.close();
  await expectMetrics(first, { clients: 2 });
});
