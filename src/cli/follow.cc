#include "cli/follow.h"

#include <fmt/format.h>

#include "cli/json_fields.h"
#include "cli/progress_line.h"
#include "cli/sse.h"
#include "domain/phase.h"

namespace glowplug::cli {
namespace {

constexpr int kReconnectsMax = 5;

// How a try ended: reached, or for one of the other reasons.
struct Try {
  bool reached = false;
  boost::json::value function;       // as it was said last
  std::optional<Error> failed;       // for good
  std::optional<Error> broke;        // worth another try
  std::optional<HttpReply> refused;  // a 503 is worth another try

  bool settled() const { return reached || failed; }
  bool may_be_repeated() const { return broke || (refused && refused->status == 503); }
};

bool is_there(const boost::json::value& function, domain::Tier until) {
  if (until == domain::Tier::Replica) return text_field(function, "state") == "ready";
  const std::optional<domain::Tier> tier = domain::tier_named(text_field(function, "tier"));
  return tier && *tier >= until;
}

class Follower final {
 public:
  Follower(const Context& context, const FollowOptions& options)
      : context_(context), options_(options), printer_(context.console) {}

  Try try_once() {
    Try now;
    if (options_.wish && !send(*options_.wish, {}, now)) return now;
    SseReader events([this, &now](const SseEvent& event) { take(event, now); });
    const HttpRequest request{.target = function_target(options_.name, "/events")};
    const bool whole = send(
        request,
        [&events, &now](std::string_view piece) {
          events.feed(piece);
          return now.settled() ? Want::Enough : Want::More;
        },
        now);
    if (whole && !now.settled())
      now.broke = Error{std::string(kBadReply), "the server ended the stream", ""};
    if (!now.reached) printer_.finish();
    return now;
  }

 private:
  bool send(const HttpRequest& request, const BodySink& sink, Try& now) {
    Result<HttpReply> reply = context_.server.send(request, sink);
    if (reply && reply->succeeded()) return true;
    if (reply)
      now.refused = *std::move(reply);
    else if (reply.error().code == kInterrupted)
      now.failed =
          Error{std::string(kInterrupted), "interrupted; the server goes on, see: glowplug ps", ""};
    else
      now.broke = reply.error();
    return false;
  }

  void take(const SseEvent& event, Try& now) {
    if (now.settled()) return;
    if (event.name == "deleted") {
      now.failed = Error{"model_not_found", options_.name + " was deleted meanwhile", ""};
      return;
    }
    if (event.name != "state" && event.name != "progress") return;  // of a newer server
    Result<boost::json::value> function = parse_json(event.data);
    if (!function) {
      now.failed = function.error();
      return;
    }
    now.function = *std::move(function);
    if (event.name == "state") phase_ = text_field(now.function, "reason");
    const std::string_view label = doing();
    if (text_field(now.function, "state") == "failed") {
      std::string reason = text_field(now.function, "reason");
      if (reason.empty())
        reason = "the server gives no reason; see: glowplug logs " + options_.name;
      now.failed =
          Error{"function_failed", fmt::format("{} failed: {}", options_.name, reason), ""};
    } else if (is_there(now.function, options_.until)) {
      if (shown_) printer_.show(label, 1, context_.clock.now());
      now.reached = true;
    } else {
      printer_.show(label, number_field(now.function, "progress"), context_.clock.now());
      shown_ = true;
    }
  }

  std::string_view doing() const {
    if (phase_ == domain::to_string(domain::Phase::Verify)) return "verifying";
    const bool fetches = phase_ == domain::to_string(domain::Phase::Fetch);
    return fetches || options_.until == domain::Tier::Disk ? "fetching" : "loading";
  }

  const Context& context_;
  const FollowOptions& options_;
  ProgressPrinter printer_;
  std::string phase_;  // of its preparation, while that goes on
  bool shown_ = false;
};

int report(const Context& context, const std::string& name, const Try& last) {
  if (last.refused) return report_refusal(context, *last.refused);
  if (last.failed) {
    const int exit = report_error(context, *last.failed);
    return last.failed->code == "model_not_found" ? to_int(ExitCode::NotFound) : exit;
  }
  return report_error(
      context, {last.broke->code,
                fmt::format("the events of {} broke off {} times, at last because: {}; what was "
                            "asked for may go on, see: glowplug ps",
                            name, kReconnectsMax + 1, last.broke->message),
                ""});
}

}  // namespace

Fetched follow(const Context& context, const FollowOptions& options) {
  Follower follower(context, options);
  Duration wait = context.reconnect_pause;
  for (int left = kReconnectsMax;; --left) {
    Try now = follower.try_once();
    if (now.reached) return {.exit = 0, .body = std::move(now.function)};
    if (!now.may_be_repeated() || left == 0)
      return {.exit = report(context, options.name, now), .body = std::move(now.function)};
    if (!pause(context, wait)) {
      const Error interrupted{std::string(kInterrupted),
                              "interrupted; the server goes on, see: glowplug ps", ""};
      return {.exit = report_error(context, interrupted), .body = nullptr};
    }
    wait *= 2;
  }
}

}  // namespace glowplug::cli
