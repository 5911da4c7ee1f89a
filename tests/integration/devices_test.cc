#include <gmock/gmock.h>

#include "tests/support/raw_stream.h"
#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using std::chrono_literals::operator""ms;
using testing::HasSubstr;

// A server with two devices or three, of which each can be held.
class DevicesTest : public ServerTest {
 protected:
  ~DevicesTest() override {
    puppet_->Release();
    second_->Release();
    third_->Release();
  }
  void Serve(bool with_third = false) {
    options_.device_stall_timeout = 50ms;
    std::vector<std::unique_ptr<Encoder>> encoders;
    encoders.push_back(MakePuppetEncoder(puppet_, dtype_));
    encoders.push_back(MakePuppetEncoder(second_, dtype_, "puppet:1"));
    if (with_third) encoders.push_back(MakePuppetEncoder(third_, dtype_, "puppet:2"));
    auto server = Server::Start(options_, std::move(encoders));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::VisionEmbedder::NewStub(NewChannel());
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }

  std::shared_ptr<Puppet> second_ = std::make_shared<Puppet>();
  std::shared_ptr<Puppet> third_ = std::make_shared<Puppet>();
};

TEST_F(DevicesTest, WhatAStuckDeviceHeldAnotherOneEmbedsWhereTwoAreLeft) {
  Serve(/*with_third=*/true);
  puppet_->Hold();
  for (uint8_t i = 0; puppet_->passes() < 2; ++i) {
    ExpectRowsOf(Embed(OneImage(64, 64, {i, 9, 9})).response.results(0), 64, 64, {i, 9, 9});
  }
  AwaitMetric("vitower_device_up{device=\"puppet:0\"}", 0);
  EXPECT_EQ(Metric("vitower_state{state=\"serving\"}"), 1);
  ExpectRowsOf(Embed(OneImage()).response.results(0), 64, 64, {});
  puppet_->Release();
  AwaitMetric("vitower_device_up{device=\"puppet:0\"}", 1);
}

TEST_F(DevicesTest, WhatStuckADeviceIsNotGivenToTheLastOne) {
  Serve();
  puppet_->Hold();
  Reply lost;
  size_t passes = 0;
  while (puppet_->passes() < 2) {
    passes = second_->passes();
    lost = Embed(OneImage());
  }
  EXPECT_EQ(lost.response.results(0).status().code(), 14U);
  EXPECT_THAT(lost.response.results(0).status().message(), HasSubstr("device puppet:0 is stuck"));
  EXPECT_EQ(second_->passes(), passes);
  ExpectRowsOf(Embed(OneImage()).response.results(0), 64, 64, {});
  EXPECT_EQ(Metric("vitower_state{state=\"serving\"}"), 1);
}

TEST_F(DevicesTest, WhatADeviceWithoutMemoryCannotDoTheLastOneEmbeds) {
  Serve();
  puppet_->SetMood(Puppet::Mood::kNoMemory);
  while (puppet_->passes() < 2) ExpectRowsOf(Embed(OneImage()).response.results(0), 64, 64, {});
  AwaitMetric("vitower_device_up{device=\"puppet:0\"}", 0);
  EXPECT_EQ(Metric("vitower_state{state=\"serving\"}"), 1);
  puppet_->SetMood(Puppet::Mood::kWork);
  AwaitMetric("vitower_device_up{device=\"puppet:0\"}", 1);
}

TEST_F(DevicesTest, ADeviceWithTwoEncodersIsNamedOnceAndUp) {
  std::vector<std::unique_ptr<Encoder>> encoders;
  for (const char* device : {"puppet:0", "puppet:0", "puppet:1"}) {
    encoders.push_back(MakePuppetEncoder(puppet_, dtype_, device));
  }
  server_ = *Server::Start(options_, std::move(encoders));
  grpc::ClientContext context;
  v1::ModelInfo info;
  ASSERT_TRUE(v1::VisionEmbedder::NewStub(NewChannel())->GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.device(), "puppet:0,puppet:1");
  ASSERT_TRUE(server_->WaitUntilServing().ok());
  EXPECT_EQ(Metric("vitower_device_up{device=\"puppet:0\"}"), 1);
  EXPECT_EQ(Metric("vitower_device_up{device=\"puppet:1\"}"), 1);
}

TEST_F(DevicesTest, WithoutADeviceTheServerSaysSoAndComesBack) {
  Serve();
  puppet_->Hold();
  second_->Hold();
  EXPECT_EQ(Embed(OneImage()).response.results(0).status().code(), 14U);  // one device, and now the other
  const Reply lost = Embed(OneImage());
  ASSERT_TRUE(lost.status.ok());
  EXPECT_EQ(lost.response.results(0).status().code(), 14U);
  EXPECT_THAT(lost.response.results(0).status().message(), HasSubstr("is stuck: a pass has taken more than 0.05"));
  AwaitMetric("vitower_state{state=\"stuck\"}", 1);
  const auto channel = NewChannel();
  EXPECT_EQ(CheckHealth(channel, ""), Health::kNotServing);
  const Reply refused = Embed(OneImage());
  EXPECT_EQ(refused.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("no device of the server works"));
  EXPECT_EQ(Metric("vitower_dropped_total{reason=\"no_device\"}"), 2);
  EXPECT_EQ(Metric("vitower_rejected_total{method=\"Embed\",reason=\"no_device\"}"), 1);
  second_->Release();
  AwaitMetric("vitower_state{state=\"serving\"}", 1);
  EXPECT_EQ(CheckHealth(channel, ""), Health::kServing);
  ExpectRowsOf(Embed(OneImage()).response.results(0), 64, 64, {});
  EXPECT_EQ(server_->Drain().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace vitower
