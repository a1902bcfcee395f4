#include "storage/webhook_store.h"

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

class WebhookStoreTest : public StoreTest {
 protected:
  WebhookStoreTest() { open(); }

  template <typename Ask>
  auto ask(Ask work) {
    auto answer = writer_->ask(work);
    EXPECT_TRUE(answer.ok()) << answer.error().message;
    return *answer;
  }
  WebhookEndpoint add(const std::string& id, std::vector<std::string> events = {}) {
    WebhookEndpoint one{.id = id,
                        .url = "https://" + id + ".example/",
                        .events = std::move(events),
                        .secret = "whsec_1",
                        .created_ms = ++created_};
    EXPECT_TRUE(writer_->run([&one](Database& database) { return add_endpoint(database, one); }));
    return one;
  }
  int enqueue(const std::string& type, std::int64_t now_ms, const std::string& url = {}) {
    return ask([&](Database& database) {
      return enqueue_event(database, {.event_id = "evt_" + std::to_string(now_ms),
                                      .type = type,
                                      .payload = "{}",
                                      .url = url,
                                      .now_ms = now_ms,
                                      .created_ms = 7,
                                      .traceparent = "trace-" + std::to_string(now_ms)});
    });
  }
  DueDeliveries due(const std::string& endpoint, std::int64_t now_ms, int limit = 10) {
    return ask(
        [&](Database& database) { return due_deliveries(database, endpoint, now_ms, limit); });
  }
  std::vector<WebhookDelivery> all(const std::string& endpoint, DeliveryPage page = {}) {
    return ask([&](Database& database) { return list_deliveries(database, endpoint, page); });
  }

  std::int64_t created_ = 0;
};

TEST_F(WebhookStoreTest, Endpoints_AreKeptAsTheyWereAdded) {
  const WebhookEndpoint first = add("we_1", {"job.completed", "job.failed"}), second = add("we_2");
  open();
  EXPECT_EQ(ask([](Database& database) { return webhook_endpoints(database); }),
            (std::vector<WebhookEndpoint>{first, second}));
  EXPECT_TRUE(ask([](Database& database) { return rotate_secret(database, "we_1", "new", 90); }));
  const auto rotated = ask([](Database& database) { return find_endpoint(database, "we_1"); });
  EXPECT_EQ(rotated->secret, "new");
  EXPECT_EQ(rotated->old_secret, "whsec_1");
  EXPECT_EQ(rotated->old_until_ms, 90);
  EXPECT_FALSE(ask([](Database& database) { return rotate_secret(database, "we_9", "new", 9); }));
}

TEST_F(WebhookStoreTest, Event_IsARowForEachThatWantsIt) {
  add("we_1", {"job.completed"});
  add("we_2");
  add("jobs");
  EXPECT_EQ(enqueue("job.failed", 1), 1);
  EXPECT_EQ(enqueue("job.completed", 2, "https://own.example/"), 3);
  EXPECT_EQ(all("we_1").size(), 1U);
  EXPECT_EQ(all("we_2").size(), 2U);
  ASSERT_EQ(all("jobs").size(), 1U);
  EXPECT_EQ(all("jobs")[0].url, "https://own.example/");
  EXPECT_EQ(all("jobs")[0].traceparent, "trace-2");
}

TEST_F(WebhookStoreTest, Due_AreTheEarliestOfOneEndpoint) {
  add("we_1");
  for (const std::int64_t at : {30, 10, 20}) enqueue("job.failed", at);
  EXPECT_EQ(due("we_1", 9).rows.size(), 0U);
  EXPECT_EQ(due("we_1", 9).next_due_ms, 10);
  const DueDeliveries found = due("we_1", 25, 1);
  ASSERT_EQ(found.rows.size(), 1U);
  EXPECT_EQ(found.rows[0].next_ms, 10);
  EXPECT_EQ(found.next_due_ms, 30);
}

TEST_F(WebhookStoreTest, Attempt_IsRecordedOnceAndNotOverAReplay) {
  add("we_1");
  enqueue("job.failed", 10);
  WebhookDelivery row = all("we_1").at(0);
  row.attempts = 1;
  row.next_ms = 50;
  row.last_status = 500;
  row.last_error = "it answered 500";
  const auto record = [this](const WebhookDelivery& one) {
    EXPECT_TRUE(writer_->run([&one](Database& database) { return record_attempt(database, one); }));
  };
  record(row);
  EXPECT_EQ(all("we_1").at(0), row);
  WebhookDelivery late = row;
  late.state = WebhookState::Delivered;
  record(late);  // of the first attempt again
  EXPECT_EQ(all("we_1").at(0), row);
  late.attempts = 2;
  record(late);
  EXPECT_EQ(all("we_1").at(0).state, WebhookState::Delivered);
  const auto again = ask([&](Database& database) { return replay_delivery(database, row.id, 70); });
  EXPECT_EQ(again->state, WebhookState::Pending);
  EXPECT_EQ(again->attempts, 0);
  EXPECT_EQ(again->event_id, row.event_id);
  EXPECT_EQ(due("we_1", 70).rows.size(), 1U);
}

TEST_F(WebhookStoreTest, Disabled_HasNoPendingAndGetsNoMore) {
  add("we_1");
  enqueue("job.failed", 10);
  EXPECT_TRUE(ask([](Database& database) { return set_disabled(database, "we_1", "gone", 99); }));
  EXPECT_EQ(all("we_1").at(0).state, WebhookState::Dead);
  EXPECT_EQ(enqueue("job.failed", 11), 0);
  EXPECT_TRUE(ask([](Database& database) { return set_disabled(database, "we_1", "", 0); }));
  EXPECT_EQ(enqueue("job.failed", 12), 1);
}

TEST_F(WebhookStoreTest, Pages_AreNewestFirst) {
  add("we_1");
  for (const std::int64_t at : {1, 2, 3}) enqueue("job.failed", at);
  const auto newest = all("we_1", {.state = {}, .before = 0, .limit = 2});
  ASSERT_EQ(newest.size(), 2U);
  EXPECT_EQ(newest[0].event_id, "evt_3");
  EXPECT_EQ(
      all("we_1", {.state = WebhookState::Pending, .before = newest[1].id, .limit = 2}).size(), 1U);
  EXPECT_TRUE(all("we_1", {.state = WebhookState::Dead, .before = 0, .limit = 2}).empty());
}

TEST_F(WebhookStoreTest, WhatIsOver_IsForgottenByItsTime) {
  add("we_1");
  enqueue("job.failed", 10);
  enqueue("job.failed", 11);
  EXPECT_TRUE(ask([](Database& database) { return set_disabled(database, "we_1", "gone", 99); }));
  EXPECT_FALSE(ask([](Database& database) { return has_forgettable(database, 98); }));
  EXPECT_TRUE(ask([](Database& database) { return has_forgettable(database, 99); }));
  EXPECT_TRUE(writer_->run([](Database& database) { return forget_deliveries(database, 99, 1); }));
  EXPECT_EQ(all("we_1").size(), 1U);
}

TEST_F(WebhookStoreTest, Removed_TakesItsRowsAlong) {
  add("we_1");
  enqueue("job.failed", 10);
  EXPECT_TRUE(ask([](Database& database) { return remove_endpoint(database, "we_1"); }));
  EXPECT_TRUE(all("we_1").empty());
  EXPECT_FALSE(ask([](Database& database) { return remove_endpoint(database, "we_1"); }));
}

}  // namespace
}  // namespace glowplug::storage
