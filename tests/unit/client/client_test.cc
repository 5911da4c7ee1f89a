#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fake_server.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

grpc::Status OneEmptyResult(const v1::EmbedRequest&, v1::EmbedResponse* response) {
  response->add_results();
  return grpc::Status::OK;
}

TEST(Client, EveryOptionOfAnItemReachesTheServer) {
  FakeServer server(OneEmptyResult);
  EmbedItem item = ImageItem("bytes", "a");
  item.min_pixels = 1024;
  item.max_pixels = 4096;
  item.do_resize = false;
  item.apply_exif = false;
  item.background = {1, 2, 255};
  item.tokens = true;
  item.deepstack_levels = {0, 2};
  item.pooled = true;
  item.pooled_slices = true;
  item.l2_normalize = true;
  item.dtype = WireDType::kFp16;
  item.priority = ItemPriority::kLow;
  ASSERT_TRUE(server.Connect()->Embed({item}, Soon(), "request-7").ok());

  EXPECT_EQ(server.last_request_id(), "request-7");
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
  EXPECT_TRUE(got.outputs().pooled_slices() && got.outputs().l2_normalize());
  EXPECT_EQ(got.priority(), v1::PRIORITY_LOW);
  EXPECT_THAT(got.outputs().deepstack_levels(), ElementsAre(0, 2));
  EXPECT_EQ(got.outputs().dtype(), v1::DTYPE_FP16);
}

TEST(Client, UnsetOptionsStayUnset) {
  FakeServer server(OneEmptyResult);
  ASSERT_TRUE(server.Connect()->Embed({ImageItem("x")}, Soon()).ok());
  const v1::EmbedRequest seen = server.last_request();
  const v1::Preprocessing& preprocessing = seen.items(0).preprocessing();
  EXPECT_FALSE(preprocessing.has_min_pixels() || preprocessing.has_max_pixels() || preprocessing.has_do_resize() ||
               preprocessing.has_apply_exif() || preprocessing.has_background());
  EXPECT_EQ(seen.items(0).outputs().dtype(), v1::DTYPE_UNSPECIFIED);
  EXPECT_EQ(seen.items(0).priority(), v1::PRIORITY_UNSPECIFIED);
  EXPECT_EQ(server.last_request_id(), "");
}

v1::Item Sent(ItemSource source) {
  FakeServer server(OneEmptyResult);
  EmbedItem item;
  item.source = std::move(source);
  EXPECT_TRUE(server.Connect()->Embed({item}, Soon()).ok());
  return server.last_request().items(0);
}

TEST(Client, AVideoGoesWithItsSampling) {
  ClipSampling sampling;
  sampling.fps = 0.5;
  sampling.max_frames = 9;
  sampling.start_seconds = 0;
  sampling.end_seconds = 2.5;
  const v1::EncodedVideo video = Sent(VideoSource{"clip", sampling}).video();
  EXPECT_EQ(video.data(), "clip");
  EXPECT_EQ(video.sampling().fps(), 0.5);
  EXPECT_EQ(video.sampling().max_frames(), 9U);
  EXPECT_TRUE(video.sampling().has_start_seconds());
  EXPECT_EQ(video.sampling().end_seconds(), 2.5);
  EXPECT_FALSE(video.sampling().has_num_frames() || video.sampling().has_min_frames());
}

TEST(Client, FramesGoWithoutSamplingUnlessItIsSet) {
  const v1::FrameList plain = Sent(FramesSource{{"one", "two"}, 24.0, {}}).frames();
  EXPECT_THAT(plain.images(), ElementsAre("one", "two"));
  EXPECT_EQ(plain.fps(), 24.0);
  EXPECT_FALSE(plain.has_sampling());
  ClipSampling sampling;
  sampling.num_frames = 4;
  EXPECT_EQ(Sent(FramesSource{{"one"}, {}, sampling}).frames().sampling().num_frames(), 4U);
}

TEST(Client, RawPixelsGoWithTheirShape) {
  const v1::RawRgb rgb = Sent(RgbSource{.data = "pixels", .frames = 3, .height = 32, .width = 64, .fps = 5.0}).rgb();
  EXPECT_EQ(rgb.data(), "pixels");
  EXPECT_EQ(rgb.frames(), 3U);
  EXPECT_EQ(rgb.height(), 32U);
  EXPECT_EQ(rgb.width(), 64U);
  EXPECT_EQ(rgb.fps(), 5.0);
  EXPECT_FALSE(rgb.has_sampling());
}

TEST(Client, PatchesGoWithTheirGrid) {
  const v1::PatchRows patches = Sent(PatchesSource{"rows", WireDType::kBf16, {2, 4, 6}}).patches();
  EXPECT_EQ(patches.data(), "rows");
  EXPECT_EQ(patches.dtype(), v1::DTYPE_BF16);
  EXPECT_EQ(patches.grid_thw().t(), 2U);
  EXPECT_EQ(patches.grid_thw().h(), 4U);
  EXPECT_EQ(patches.grid_thw().w(), 6U);
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
  const auto results = server.Connect()->Embed(std::vector<EmbedItem>(2), Soon());
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

TEST(Client, AClipsResultTellsItsFrames) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse* response) {
    v1::Result& clip = *response->add_results();
    for (uint64_t index : {0, 7, 15}) clip.add_frame_indices(index);
    clip.set_source_fps(29.97);
    clip.add_slice_timestamps(0.25);
    clip.set_padded(true);
    response->add_results();
    return grpc::Status::OK;
  });
  const auto results = server.Connect()->Embed(std::vector<EmbedItem>(2), Soon());
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_THAT((*results)[0].frame_indices, ElementsAre(0, 7, 15));
  EXPECT_EQ((*results)[0].source_fps, 29.97);
  EXPECT_THAT((*results)[0].slice_timestamps, ElementsAre(0.25));
  EXPECT_TRUE((*results)[0].padded);
  EXPECT_TRUE((*results)[1].frame_indices.empty() && !(*results)[1].source_fps && !(*results)[1].padded);
}

TEST(Client, AFailedCallKeepsTheServersCodeAndMessage) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse*) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  });
  EXPECT_EQ(server.Connect()->Embed({EmbedItem()}, Soon()).status(), absl::ResourceExhaustedError("the queue is full"));
}

TEST(Client, AServerThatIsUnavailableIsTriedAgainAsOftenAsAsked) {
  std::atomic<int> calls = 0;
  FakeServer server([&](const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    if (++calls % 3 != 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    response->add_results()->set_id(std::to_string(request.items(0).image().size()));
    return grpc::Status::OK;
  });
  const std::string large(3 << 20, 'x');
  const auto results = server.Connect()->Embed({ImageItem(large)}, Soon());
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0].id, std::to_string(large.size()));
  EXPECT_EQ(calls, 3);

  const auto once = Client::Create({.server = server.address(), .attempts = 1});
  EXPECT_EQ((*once)->Embed({EmbedItem()}, Soon()).status(), absl::UnavailableError("draining"));
  EXPECT_EQ(calls, 4);
}

TEST(Client, CallsGoRoundTheAddressesAndPastOneThatIsGone) {
  const auto answer_with = [](std::string name) {
    return [name](const v1::EmbedRequest&, v1::EmbedResponse* response) {
      response->add_results()->set_id(name);
      return grpc::Status::OK;
    };
  };
  FakeServer one(answer_with("one"));
  FakeServer two(answer_with("two"));
  const auto client = Client::Create({.server = "ipv4:" + one.address() + "," + two.address() + ",127.0.0.1:1"});
  ASSERT_TRUE(client.ok()) << client.status();
  std::set<std::string> seen;
  while (seen.size() < 2) {  // the second may not be connected yet
    const auto results = (*client)->Embed({EmbedItem()}, Soon());
    ASSERT_TRUE(results.ok()) << results.status();
    seen.insert((*results)[0].id);
  }
}

TEST(Client, AsynchronousCallsAreAnsweredOnceAndAwaitedByTheDestructor) {
  FakeServer server([](const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    if (request.items(0).id() == "bad") return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no");
    response->add_results()->set_id(request.items(0).id());
    return grpc::Status::OK;
  });
  std::atomic<int> good = 0;
  std::atomic<int> bad = 0;
  for (int round = 0; round < 20; ++round) {
    const auto client = server.Connect();
    client->EmbedAsync({std::make_shared<const EmbedItem>(ImageItem("", "a"))}, Soon(), [&](auto results) {
      EXPECT_TRUE(results.ok() && (*results)[0].id == "a") << results.status();
      ++good;
    });
    client->EmbedAsync({std::make_shared<const EmbedItem>(ImageItem("", "bad"))}, Soon(), [&](auto results) {
      EXPECT_EQ(results.status(), absl::InvalidArgumentError("no"));
      ++bad;
    });
  }
  EXPECT_EQ(good, 20);
  EXPECT_EQ(bad, 20);
}

TEST(Client, ARequestAboveProtobufsLimitIsRefusedBeforeItIsSent) {
  FakeServer server(OneEmptyResult);
  const auto client = server.Connect();
  const auto item = std::make_shared<const EmbedItem>(ImageItem(std::string(1 << 20, 'x')));
  int answers = 0;
  client->EmbedAsync(std::vector(2'100, item), Soon(), [&](auto results) {
    EXPECT_EQ(results.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(results.status().message()), HasSubstr("at most 2147483647"));
    ++answers;
  });
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(server.last_request().items_size(), 0);
}

TEST(Client, ALargeRequestsDeadlineMayComeWhileItIsSent) {
  FakeServer server(OneEmptyResult);
  auto item = std::make_shared<const EmbedItem>(ImageItem(std::string(4 << 20, 'x')));
  std::atomic<int> ended = 0;
  {
    const auto client = server.Connect();
    const std::vector items(64, std::move(item));  // 256 MiB
    for (const int ms : {1, 3, 10}) {
      client->EmbedAsync(items, std::chrono::system_clock::now() + std::chrono::milliseconds(ms), [&](auto results) {
        EXPECT_EQ(results.status().code(), absl::StatusCode::kDeadlineExceeded) << results.status();
        ++ended;
      });
    }
  }
  EXPECT_EQ(ended, 3);
  EXPECT_EQ(server.last_request().items_size(), 0);
}

TEST(Client, RepliesAboveGrpcsOwnLimitArrive) {
  FakeServer server([](const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    response->add_results()->add_outputs()->set_data(request.items(0).image());
    return grpc::Status::OK;
  });
  const std::string large(9 << 20, 'x');
  const auto results = server.Connect()->Embed({ImageItem(large)}, Soon());
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0].outputs[0].data, large);
}

TEST(Client, AnAnswerWithTheWrongNumberOfResultsIsAnError) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse*) { return grpc::Status::OK; });
  EXPECT_EQ(server.Connect()->Embed({EmbedItem()}, Soon()).status().code(), absl::StatusCode::kInternal);
}

TEST(Client, ADeadlineThatHasPassedEndsTheCall) {
  FakeServer server([](const v1::EmbedRequest&, v1::EmbedResponse*) { return grpc::Status::OK; });
  const auto past = std::chrono::system_clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(server.Connect()->Embed({EmbedItem()}, past).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Client, ModelInfoTellsWhatIsServed) {
  FakeServer server;
  const auto info = server.Connect()->GetModelInfo(Soon());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name, "random:tiny");
  EXPECT_EQ(Name(info->dtype), "bf16");
  EXPECT_THAT(info->deepstack_visual_indexes, ElementsAre(5));
  EXPECT_EQ(info->max_request_items, 1024);
  EXPECT_EQ(info->temporal_patch_size, 2);
  EXPECT_EQ(info->video_max_pixels, 4096);
  EXPECT_EQ(info->max_stream_items, 7);
  EXPECT_EQ(info->stream_chunk_bytes, 65536);
}

TEST(Client, HealthFollowsTheServer) {
  FakeServer server;
  const auto client = server.Connect();
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

TEST(Client, OptionsThatCannotBeAreRefusedByName) {
  const auto refusal = [](ClientOptions options) {
    options.server = "localhost:1";
    return std::string(Client::Create(options).status().message());
  };
  EXPECT_EQ(refusal({.tls = TlsOptions{.ca = "/nowhere/ca.pem"}}), "tls-ca: cannot read /nowhere/ca.pem");
  EXPECT_EQ(refusal({.tls = TlsOptions{.ca = "/proc/self/comm"}}), "tls-ca: /proc/self/comm is no PEM file");
  EXPECT_THAT(refusal({.tls = TlsOptions{.key = "/key"}}), HasSubstr("tls-client-cert is not"));
  EXPECT_THAT(refusal({.token = "t0ken"}), HasSubstr("unencrypted"));
  EXPECT_THAT(refusal({.token = "to\nken", .allow_plain_text_token = true}), HasSubstr("blanks"));
  EXPECT_EQ(refusal({.token = "t0ken", .allow_plain_text_token = true}), "");
}

TEST(Client, CallsFromManyThreadsGetTheirOwnAnswers) {
  FakeServer server([](const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    response->add_results()->set_id(request.items(0).id());
    return grpc::Status::OK;
  });
  const auto client = server.Connect();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, id = std::to_string(i)] {
      for (int round = 0; round < 20; ++round) {
        const auto results = client->Embed({ImageItem("", id)}, Soon());
        ASSERT_TRUE(results.ok()) << results.status();
        EXPECT_EQ((*results)[0].id, id);
      }
    });
  }
}

}  // namespace
}  // namespace vitower
