#pragma once

#include <memory>
#include <string>
#include <utility>

#include "server/call.h"
#include "server/job.h"
#include "server/plan.h"

namespace vitower {

// A call, and whether it is complete.
struct TestCall {
  explicit TestCall(v1::EmbedRequest request, TimePoint deadline = TimePoint::max()) {
    Call::Start start{"test-request", TimePoint(), TimePoint(), deadline};
    call = std::make_shared<Call>(std::move(start), std::move(request), [this] { ++completions; });
    call->Seal();
  }
  // Of `items` images that are none.
  explicit TestCall(int items, TimePoint deadline = TimePoint::max()) : TestCall(Images(items), deadline) {}

  static v1::EmbedRequest Images(int items) {
    v1::EmbedRequest request;
    for (int i = 0; i < items; ++i) {
      request.add_items()->set_id("item-" + std::to_string(i));
      request.mutable_items(i)->set_image("bytes");
    }
    return request;
  }

  uint32_t code(size_t index) const { return call->answers()[index].result.status().code(); }

  std::shared_ptr<Call> call;
  int completions = 0;
};

inline std::unique_ptr<Job> MakeJob(const TestCall& call, size_t index, int64_t patches,
                                    Priority priority = Priority::kNormal) {
  ItemPlan plan;
  plan.grid = GridThw{1, 2, patches / 2};
  plan.priority = priority;
  return std::make_unique<Job>(call.call, index, plan);
}

}  // namespace vitower
