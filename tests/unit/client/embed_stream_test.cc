#include "client/embed_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "stream_answers.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StreamOptions Within(int64_t max_items, int64_t chunk_bytes = 1 << 20) {
  return {.max_items = max_items, .chunk_bytes = chunk_bytes, .deadline = Soon()};
}

TEST(EmbedStream, AnswersComeInTheOrderOfCompletionWithTheirKeys) {
  FakeServer server([](Stream& stream) {
    std::vector<v1::EmbedStreamRequest> requests(3);
    for (v1::EmbedStreamRequest& request : requests) stream.Read(&request);
    for (int i : {2, 0, 1}) stream.Write(Answer(requests[i].key(), requests[i].item().id()));
    return grpc::Status::OK;
  });
  const auto stream = server.Connect()->OpenStream(Within(8));
  for (uint64_t key : {7, 8, 9}) ASSERT_TRUE(stream->Write(key, ImageItem("x", "id" + std::to_string(key))).ok());
  stream->WritesDone();
  std::vector<std::string> seen;
  for (int i = 0; i < 3; ++i) {
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    seen.push_back(std::to_string((*answer)->key) + (*answer)->result.id);
  }
  EXPECT_THAT(seen, ElementsAre("9id9", "7id7", "8id8"));
  const auto end = stream->Read();
  EXPECT_TRUE(end.ok() && !*end) << end.status();
}

TEST(EmbedStream, ALargeItemGoesInPartsAndASmallOneWhole) {
  std::map<uint64_t, std::string> bytes;
  FakeServer server([&bytes](Stream& stream) {
    for (v1::EmbedStreamRequest request; stream.Read(&request);) {
      if (request.has_item()) {
        bytes[request.key()] = request.item().SerializeAsString();
      } else {
        EXPECT_EQ(request.part().offset(), bytes[request.key()].size());
        EXPECT_LE(request.part().data().size(), 1000U);
        bytes[request.key()] += request.part().data();
        if (bytes[request.key()].size() < request.part().total()) continue;
      }
      v1::Item item;
      item.ParseFromString(bytes[request.key()]);
      stream.Write(Answer(request.key(), item.image()));
    }
    return grpc::Status::OK;
  });
  const auto stream = server.Connect()->OpenStream(Within(8, /*chunk_bytes=*/1000));
  const std::string large(12'345, 'x');
  for (const std::string& image : {large, std::string("small")}) {
    ASSERT_TRUE(stream->Write(image.size(), ImageItem(image)).ok());
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    EXPECT_EQ((*answer)->result.id, image);
  }
}

TEST(EmbedStream, AnAnswerInPartsIsPutTogetherWhileOthersComeBetween) {
  FakeServer server([](Stream& stream) {
    v1::EmbedStreamRequest request;
    stream.Read(&request);
    stream.Read(&request);
    v1::EmbedStreamResponse large = Answer(1, "large");
    large.mutable_result()->add_outputs()->set_byte_count(6);
    stream.Write(large);
    v1::EmbedStreamResponse part;
    part.set_key(1);
    part.mutable_part()->set_data("abc");
    stream.Write(part);
    stream.Write(Answer(2, "between"));
    part.mutable_part()->set_offset(3);
    part.mutable_part()->set_data("def");
    stream.Write(part);
    return grpc::Status::OK;
  });
  const auto stream = server.Connect()->OpenStream(Within(8));
  for (uint64_t key : {1, 2}) ASSERT_TRUE(stream->Write(key, ImageItem("x")).ok());
  const auto first = stream->Read();
  ASSERT_TRUE(first.ok() && *first) << first.status();
  EXPECT_EQ((*first)->result.id, "between");
  const auto second = stream->Read();
  ASSERT_TRUE(second.ok() && *second) << second.status();
  EXPECT_EQ((*second)->result.outputs[0].data, "abcdef");
}

TEST(EmbedStream, AFullWindowRefusesTryWriteUntilAnAnswerIsRead) {
  FakeServer server(Echo);
  const auto stream = server.Connect()->OpenStream(Within(2));
  EmbedItem item = ImageItem("x", "third");
  for (uint64_t key : {1, 2}) ASSERT_TRUE(stream->Write(key, ImageItem("x")).ok());
  const auto refused = stream->TryWrite(3, item);
  EXPECT_TRUE(refused.ok() && !*refused);
  EXPECT_EQ(item.id, "third");
  ASSERT_TRUE(stream->Read().ok());
  const auto taken = stream->TryWrite(3, item);
  EXPECT_TRUE(taken.ok() && *taken);
}

TEST(EmbedStream, WriteWaitsForRoom) {
  FakeServer server(Echo);
  const auto stream = server.Connect()->OpenStream(Within(1));
  std::jthread writer([&] {
    for (uint64_t key = 0; key < 50; ++key) EXPECT_TRUE(stream->Write(key, ImageItem("x")).ok());
    stream->WritesDone();
  });
  for (uint64_t key = 0; key < 50; ++key) {
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    EXPECT_EQ((*answer)->key, key);
  }
}

TEST(EmbedStream, ManyItemsFromSeveralWritersAreEachAnsweredOnce) {
  constexpr uint64_t kEach = 100;
  FakeServer server(Echo);
  const auto stream = server.Connect()->OpenStream(Within(16, /*chunk_bytes=*/1 << 20));
  std::vector<std::jthread> writers;
  for (uint64_t writer = 0; writer < 3; ++writer) {
    writers.emplace_back([&stream, writer] {
      for (uint64_t key = writer * kEach; key < (writer + 1) * kEach; ++key) {
        EXPECT_TRUE(stream->Write(key, ImageItem("x", std::to_string(key))).ok());
      }
    });
  }
  std::map<uint64_t, std::string> seen;
  for (uint64_t i = 0; i < 3 * kEach; ++i) {
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    EXPECT_TRUE(seen.emplace((*answer)->key, (*answer)->result.id).second);
  }
  for (const auto& [key, id] : seen) EXPECT_EQ(id, std::to_string(key));
}

TEST(EmbedStream, ARefusedItemTellsWhenToTryAgainAndOneTooLargeThatItIsInVain) {
  FakeServer server([](Stream& stream) {
    for (v1::EmbedStreamRequest request; stream.Read(&request);) {
      v1::EmbedStreamResponse refusal = Answer(request.key());
      refusal.mutable_result()->mutable_status()->set_code(8);
      refusal.mutable_result()->set_retry_after_ms(static_cast<uint32_t>(request.key()));
      stream.Write(refusal);
    }
    return grpc::Status::OK;
  });
  const auto stream = server.Connect()->OpenStream(Within(8));
  for (uint64_t key : {250, 0}) {
    ASSERT_TRUE(stream->Write(key, ImageItem("x")).ok());
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok() && *answer) << answer.status();
    const auto wait = RetryAfter((*answer)->result.status);
    EXPECT_EQ(wait.has_value(), key == 250);
    EXPECT_EQ(wait.value_or(std::chrono::milliseconds(0)).count(), static_cast<int64_t>(key));
  }
}

TEST(EmbedStream, AKeyInFlightIsRefusedAndFreeAgainOnceItIsAnswered) {
  FakeServer server(Echo);
  const auto stream = server.Connect()->OpenStream(Within(8));
  ASSERT_TRUE(stream->Write(5, ImageItem("x")).ok());
  EXPECT_EQ(stream->Write(5, ImageItem("x")).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(stream->Read().ok());
  EXPECT_TRUE(stream->Write(5, ImageItem("x")).ok());
}

TEST(EmbedStream, ReadGivesUpWhenAskedToAndGoesOnLater) {
  std::mutex answer_it;
  answer_it.lock();
  FakeServer server([&answer_it](Stream& stream) {
    v1::EmbedStreamRequest request;
    stream.Read(&request);
    const std::lock_guard wait(answer_it);
    stream.Write(Answer(request.key()));
    return grpc::Status::OK;
  });
  const auto stream = server.Connect()->OpenStream(Within(8));
  ASSERT_TRUE(stream->Write(5, ImageItem("x")).ok());
  EXPECT_EQ(stream->Read(std::chrono::system_clock::now()).status().code(), absl::StatusCode::kDeadlineExceeded);
  answer_it.unlock();
  const auto answer = stream->Read(Soon());
  ASSERT_TRUE(answer.ok() && *answer) << answer.status();
  EXPECT_EQ((*answer)->key, 5U);
}

TEST(EmbedStream, ReadTellsWhyTheServerEndedTheStreamAndWriteThatItHas) {
  FakeServer server([](Stream&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is draining"); });
  const auto stream = server.Connect()->OpenStream(Within(8));
  EXPECT_EQ(stream->Read().status(), absl::UnavailableError("the server is draining"));
  EXPECT_EQ(stream->Write(1, ImageItem("x")).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(stream->Read().status(), absl::UnavailableError("the server is draining"));
}

TEST(EmbedStream, AWriterThatWaitsForRoomSeesTheEndOfTheStream) {
  FakeServer server([](Stream& stream) {
    v1::EmbedStreamRequest request;
    stream.Read(&request);
    return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
  });
  const auto stream = server.Connect()->OpenStream(Within(1));
  std::jthread writer([&] {
    absl::Status status;
    for (uint64_t key = 0; status.ok(); ++key) status = stream->Write(key, ImageItem("x"));
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  });
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kInternal);
}

TEST(EmbedStream, CancelEndsReadsAndWrites) {
  FakeServer server(Swallow);
  const auto stream = server.Connect()->OpenStream(Within(1));
  ASSERT_TRUE(stream->Write(1, ImageItem("x")).ok());
  std::jthread writer([&] { EXPECT_EQ(stream->Write(2, ImageItem("x")).code(), absl::StatusCode::kCancelled); });
  std::jthread canceller([&] { stream->Cancel(); });
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kCancelled);
}

TEST(EmbedStream, TheDeadlineEndsTheStream) {
  FakeServer server(Swallow);
  StreamOptions options;
  options.deadline = std::chrono::system_clock::now() - std::chrono::seconds(1);
  const auto stream = server.Connect()->OpenStream(options);
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(EmbedStream, AStreamThatIsDroppedCancels) {
  FakeServer server(Swallow);
  const auto stream = server.Connect()->OpenStream(Within(8));
  ASSERT_TRUE(stream->Write(1, ImageItem("x")).ok());
}

TEST(EmbedStream, AnAnswerThatWasNotAskedForAndOneThatIsMissingAreErrors) {
  FakeServer strange([](Stream& stream) {
    stream.Write(Answer(99));
    return Swallow(stream);
  });
  const auto stream = strange.Connect()->OpenStream(Within(8));
  const absl::Status status = stream->Read().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("key 99"));
  EXPECT_EQ(stream->Read().status(), status);

  FakeServer silent(Swallow);
  const auto unanswered = silent.Connect()->OpenStream(Within(8));
  ASSERT_TRUE(unanswered->Write(1, ImageItem("x")).ok());
  unanswered->WritesDone();
  EXPECT_EQ(unanswered->Read().status().code(), absl::StatusCode::kInternal);
}

TEST(EmbedStream, NoServerIsUnavailable) {
  const auto stream = (*Client::Create({.server = "127.0.0.1:1"}))->OpenStream({});
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kUnavailable);
}

TEST(EmbedStream, TheRequestIdReachesTheServer) {
  FakeServer server(Echo);
  const auto stream = server.Connect()->OpenStream({.request_id = "bulk-1"});
  ASSERT_TRUE(stream->Write(1, ImageItem("x")).ok());
  ASSERT_TRUE(stream->Read().ok());
  EXPECT_EQ(server.last_request_id(), "bulk-1");
}

}  // namespace
}  // namespace vitower
