#include "client/client.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// A server that answers as the test says and keeps the last request.
class FakeServer final : public v1::VisionEmbedder::Service {
 public:
  explicit FakeServer(std::function<grpc::Status(const v1::EmbedRequest&, v1::EmbedResponse*)> embed = nullptr)
      : embed_(std::move(embed)) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(-1);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  grpc::Status Embed(grpc::ServerContext*, const v1::EmbedRequest* request, v1::EmbedResponse* response) override {
    {
      const std::lock_guard lock(mu_);
      last_request_ = *request;
    }
    return embed_(*request, response);
  }

  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*, v1::ModelInfo* info) override {
    info->set_name("random:tiny");
    info->set_dtype(v1::DTYPE_BF16);
    info->add_deepstack_visual_indexes(5);
    info->mutable_limits()->set_max_request_items(1024);
    return grpc::Status::OK;
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  v1::EmbedRequest last_request() const {
    const std::lock_guard lock(mu_);
    return last_request_;
  }
  void SetServing(bool serving) { server_->GetHealthCheckService()->SetServingStatus("", serving); }

 private:
  const std::function<grpc::Status(const v1::EmbedRequest&, v1::EmbedResponse*)> embed_;
  int port_ = 0;
  mutable std::mutex mu_;
  v1::EmbedRequest last_request_;  // guarded by mu_
  std::unique_ptr<grpc::Server> server_;
};

grpc::Status OneEmptyResult(const v1::EmbedRequest&, v1::EmbedResponse* response) {
  response->add_results();
  return grpc::Status::OK;
}

Client::Deadline Soon() { return std::chrono::system_clock::now() + std::chrono::seconds(20); }

std::unique_ptr<Client> Connect(const FakeServer& server) { return *Client::Create({.server = server.address()}); }

TEST(Client, EveryOptionOfAnItemReachesTheServer) {
  FakeServer server(OneEmptyResult);
  EmbedItem item{.id = "a", .image = "bytes"};
  item.min_pixels = 1024;
  item.max_pixels = 4096;
  item.do_resize = false;
  item.apply_exif = false;
  item.background = {1, 2, 255};
  item.tokens = true;
  item.deepstack_levels = {0, 2};
  item.pooled = true;
  item.dtype = WireDType::kFp16;
  ASSERT_TRUE(Connect(server)->Embed({item}, Soon()).ok());

  const v1::EmbedRequest seen = server.last_request();
  ASSERT_EQ(seen.items_size(), 1);
  const v1::Item& got = seen.items(0);
  EXPECT_EQ(got.id() + got.image(), "abytes");
  EXPECT_EQ(got.preprocessing().min_pixels(), 1024U);
  EXPECT_EQ(got.preprocessing().max_pixels(), 4096U);
  EXPECT_TRUE(got.preprocessing().has_do_resize() && !got.preprocessing().do_resize());
  EXPECT_TRUE(got.preprocessing().has_apply_exif() && !got.preprocessing().apply_exif());
  EXPECT_EQ(got.preprocessing().background().blue(), 255U);
  EXPECT_TRUE(got.outputs().tokens() && got.outputs().pooled());
  EXPECT_THAT(got.outputs().deepstack_levels(), ElementsAre(0, 2));
  EXPECT_EQ(got.outputs().dtype(), v1::DTYPE_FP16);
}

TEST(Client, UnsetOptionsStayUnset) {
  FakeServer server(OneEmptyResult);
  ASSERT_TRUE(Connect(server)->Embed({EmbedItem{.image = "x"}}, Soon()).ok());
  const v1::EmbedRequest seen = server.last_request();
  const v1::Preprocessing& preprocessing = seen.items(0).preprocessing();
  EXPECT_FALSE(preprocessing.has_min_pixels() || preprocessing.has_max_pixels() || preprocessing.has_do_resize() ||
               preprocessing.has_apply_exif() || preprocessing.has_background());
  EXPECT_EQ(seen.items(0).outputs().dtype(), v1::DTYPE_UNSPECIFIED);
}

TEST(Client, ResultsAreReadInFullAndInOrder) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse* response) {
    v1::Result& good = *response->add_results();
    good.set_id("good");
    good.mutable_grid_thw()->set_t(1);
    good.mutable_grid_thw()->set_h(4);
    good.mutable_grid_thw()->set_w(6);
    good.set_token_count(6);
    good.set_hidden_size(8);
    good.set_dtype(v1::DTYPE_FP32);
    v1::Tensor& tokens = *good.add_outputs();
    tokens.set_name("tokens");
    tokens.add_shape(6);
    tokens.add_shape(8);
    tokens.set_dtype(v1::DTYPE_FP32);
    tokens.set_data(std::string(6 * 8 * 4, 'x'));
    good.add_outputs_not_sent("pooled");
    good.mutable_times()->set_blocks_seconds(0.5);
    good.mutable_times()->set_batch_items(3);
    response->add_results()->mutable_status()->set_code(3);
    response->mutable_results(1)->mutable_status()->set_message("image: not an image");
    return grpc::Status::OK;
  });
  const auto results = Connect(server)->Embed(std::vector<EmbedItem>(2), Soon());
  ASSERT_TRUE(results.ok()) << results.status();
  const EmbedResult& good = (*results)[0];
  EXPECT_TRUE(good.status.ok());
  EXPECT_EQ(good.id, "good");
  EXPECT_THAT(good.grid_thw, ElementsAre(1, 4, 6));
  EXPECT_EQ(good.outputs[0].name, "tokens");
  EXPECT_THAT(good.outputs[0].shape, ElementsAre(6, 8));
  EXPECT_EQ(good.outputs[0].data.size(), 192U);
  EXPECT_THAT(good.outputs_not_sent, ElementsAre("pooled"));
  EXPECT_THAT(good.stage_seconds, ::testing::Contains(Pair("blocks", 0.5)));
  EXPECT_EQ(good.batch_items, 3);
  EXPECT_EQ((*results)[1].status, absl::InvalidArgumentError("image: not an image"));
}

TEST(Client, AFailedCallKeepsTheServersCodeAndMessage) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse*) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  });
  EXPECT_EQ(Connect(server)->Embed({EmbedItem()}, Soon()).status(), absl::ResourceExhaustedError("the queue is full"));
}

TEST(Client, RepliesAboveGrpcsOwnLimitArrive) {
  FakeServer server([](const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    response->add_results()->add_outputs()->set_data(request.items(0).image());
    return grpc::Status::OK;
  });
  const std::string large(9 << 20, 'x');
  const auto results = Connect(server)->Embed({EmbedItem{.image = large}}, Soon());
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0].outputs[0].data, large);
}

TEST(Client, AnAnswerWithTheWrongNumberOfResultsIsAnError) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse*) { return grpc::Status::OK; });
  EXPECT_EQ(Connect(server)->Embed({EmbedItem()}, Soon()).status().code(), absl::StatusCode::kInternal);
}

TEST(Client, ADeadlineThatHasPassedEndsTheCall) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse*) { return grpc::Status::OK; });
  const auto past = std::chrono::system_clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(Connect(server)->Embed({EmbedItem()}, past).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Client, ModelInfoTellsWhatIsServed) {
  FakeServer server;
  const auto info = Connect(server)->GetModelInfo(Soon());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name, "random:tiny");
  EXPECT_EQ(Name(info->dtype), "bf16");
  EXPECT_THAT(info->deepstack_visual_indexes, ElementsAre(5));
  EXPECT_EQ(info->max_request_items, 1024);
}

TEST(Client, HealthFollowsTheServer) {
  FakeServer server;
  const auto client = Connect(server);
  server.SetServing(true);
  EXPECT_TRUE(client->CheckHealth(Soon()).ok());
  server.SetServing(false);
  const absl::Status status = client->CheckHealth(Soon());
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("NOT_SERVING"));
}

TEST(Client, NoServerIsUnavailable) {
  const auto client = Client::Create({.server = "127.0.0.1:1"});
  ASSERT_TRUE(client.ok());
  EXPECT_EQ((*client)->CheckHealth(Soon()).code(), absl::StatusCode::kUnavailable);
}

TEST(Client, AnAddressWithoutAPortIsRefused) {
  for (const char* address : {"", "localhost", ":50051", "localhost:", "localhost:http", "localhost:70000"}) {
    EXPECT_EQ(Client::Create({.server = address}).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

TEST(Client, CallsFromManyThreadsGetTheirOwnAnswers) {
  FakeServer server([](const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    response->add_results()->set_id(request.items(0).id());
    return grpc::Status::OK;
  });
  const auto client = Connect(server);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, id = std::to_string(i)] {
      for (int round = 0; round < 20; ++round) {
        const auto results = client->Embed({EmbedItem{.id = id}}, Soon());
        ASSERT_TRUE(results.ok()) << results.status();
        EXPECT_EQ((*results)[0].id, id);
      }
    });
  }
}

}  // namespace
}  // namespace vitower
