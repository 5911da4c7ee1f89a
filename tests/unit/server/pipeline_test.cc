#include "server/pipeline.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <future>

#include "tests/support/fake_clock.h"
#include "tests/support/puppet_encoder.h"
#include "tests/support/test_items.h"

namespace vitower {
namespace {

using std::chrono_literals::operator""s;

std::string ThisThread() {
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof(name));
  return name;
}

// A call of one item, and the thread that completed it.
struct NamedCall {
  NamedCall(v1::Item item, TimePoint now, TimePoint deadline) {
    v1::EmbedRequest request;
    *request.add_items() = std::move(item);
    call = std::make_shared<Call>(Call::Start{"test", now, now, deadline}, std::move(request),
                                  [this] { thread.set_value(ThisThread()); });
  }
  uint32_t code() const { return call->answers()[0].result.status().code(); }

  std::shared_ptr<Call> call;
  Permit permit;
  std::promise<std::string> thread;
};

class PipelineTest : public testing::Test {
 protected:
  static Pipeline::Options OneThread() {
    Pipeline::Options options;
    options.items = {/*max_image_pixels=*/100'000, /*max_item_patches=*/400};
    options.admission = {/*queue_patches=*/10'000, /*inflight_bytes=*/100'000'000};
    options.max_reply_bytes = 1 << 20;
    options.max_batch_patches = 256;
    return options;
  }
  static std::vector<std::unique_ptr<Encoder>> One(std::shared_ptr<Puppet> puppet) {
    std::vector<std::unique_ptr<Encoder>> encoders;
    encoders.push_back(MakePuppetEncoder(std::move(puppet)));
    return encoders;
  }
  void Accept(NamedCall& call) {
    ASSERT_FALSE(pipeline_.Accept(call.call, /*request_bytes=*/1000, call.permit));
    call.call->Seal();
  }

  FakeClock clock_;
  Metrics metrics_;
  Tracer tracer_{clock_};
  std::shared_ptr<Puppet> puppet_ = std::make_shared<Puppet>();
  Pipeline pipeline_{OneThread(), One(puppet_), metrics_, tracer_, clock_, {[](const absl::Status&) {}, [](bool) {}}};
};

TEST_F(PipelineTest, TheWorkerDoesNotAnswerWhatItDrops) {
  puppet_->AwaitPasses(1);
  NamedCall running(PatchesItem({1, 2, 2}, DType::kFp32), clock_.Now(), TimePoint::max());
  NamedCall late(PatchesItem({1, 2, 2}, DType::kFp32), clock_.Now(), clock_.Now() + 5s);
  v1::Item bad = PatchesItem({1, 2, 2}, DType::kFp32);
  bad.mutable_patches()->mutable_data()->assign(bad.patches().data().size(), '\x7F');
  NamedCall refused(std::move(bad), clock_.Now(), TimePoint::max());
  puppet_->Hold();
  Accept(running);
  puppet_->AwaitPasses(2);
  Accept(late);
  Accept(refused);
  refused.thread.get_future().get();  // so what came before it is queued
  clock_.Advance(6s);
  puppet_->Release();
  EXPECT_EQ(late.thread.get_future().get(), "reply");
  EXPECT_EQ(late.code(), 4U);
  EXPECT_EQ(running.thread.get_future().get(), "reply");
  EXPECT_EQ(running.code(), 0U);
}

}  // namespace
}  // namespace vitower
